import keras
import numpy as np
from keras import layers

model = keras.Sequential(
    [
        keras.Input((7,), dtype="int32"),
        layers.Embedding(30, 6, mask_zero=True),
        layers.GRU(9),
        layers.Dense(4, activation="softmax"),
    ]
)
model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")


def batch():
    rng = np.random.default_rng(2)
    tokens = rng.integers(1, 30, (6, 7))
    for row, length in enumerate([7, 5, 2, 7, 3, 6]):
        tokens[row, length:] = 0
    return tokens, rng.integers(0, 4, 6)
