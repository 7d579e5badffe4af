import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((10,)),
        layers.Dense(32, activation="relu"),
        layers.Dense(3),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
