import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((10,)),
        layers.Dense(12, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(2),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
