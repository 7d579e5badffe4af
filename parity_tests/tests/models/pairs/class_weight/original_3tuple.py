import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

rng = np.random.default_rng(2)
x_train = rng.normal(size=(320, 6)).astype("float32")
y_train = (rng.random(320) < 0.2).astype("int32")
class_weight = {0: 1.0, 1: 4.0}

model = keras.Sequential(
    [
        keras.Input((6,)),
        layers.Dense(12, activation="relu"),
        layers.Dense(2, activation="softmax"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")


def train():
    model.fit(x_train, y_train, batch_size=32, epochs=1, class_weight=class_weight, verbose=0)


def batch():
    x, y = x_train[:32], y_train[:32]
    return x, y, np.array([class_weight[int(label)] for label in y], "float32")
