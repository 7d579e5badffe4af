import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((7,)),
        layers.Dense(6),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(5),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.99), loss="mse")
