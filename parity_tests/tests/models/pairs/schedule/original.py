import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((8,)),
        layers.Dense(10, activation="tanh"),
        layers.Dense(2),
    ]
)
rate = keras.optimizers.schedules.InverseTimeDecay(0.1, decay_steps=1, decay_rate=0.05)
model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.9), loss="mse")
