import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((12, 3)),
        layers.Conv1D(6, 3, padding="causal", activation="relu"),
        layers.AveragePooling1D(2),
        layers.GroupNormalization(groups=2),
        layers.Flatten(),
        layers.Dense(4, activation="softmax"),
    ]
)
model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
