import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

model = keras.Sequential(
    [
        keras.Input((9,), dtype="int32"),
        layers.Embedding(40, 6, mask_zero=True),
        layers.GlobalAveragePooling1D(),
        layers.Dense(5, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.5), loss="binary_crossentropy")


def batch():
    rng = np.random.default_rng(4)
    tokens = rng.integers(1, 40, (16, 9))
    lengths = rng.integers(2, 10, 16)
    tokens[np.arange(9) >= lengths[:, None]] = 0
    return tokens, rng.integers(0, 2, (16, 1)).astype("float32")
