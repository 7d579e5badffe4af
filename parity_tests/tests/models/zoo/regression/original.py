import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((13,)),
        layers.Dense(24, activation="selu"),
        layers.Dense(12, activation="softplus"),
        layers.Dense(1),
    ]
)
schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, decay_steps=2, decay_rate=0.8)
model.compile(keras.optimizers.Adam(schedule, clipnorm=0.5), loss=keras.losses.Huber(0.7))
