import keras
import numpy as np
from keras import layers

model = keras.Sequential(
    [
        keras.Input((6,), dtype="int32"),
        layers.Embedding(60, 8),
        layers.LSTM(10),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")


def batch():
    # No word twice: on TensorFlow, Keras's Adam does not merge the rows of a repeated word.
    rng = np.random.default_rng(1)
    return rng.permutation(60)[:48].reshape(8, 6), rng.integers(0, 2, (8, 1)).astype("float32")
