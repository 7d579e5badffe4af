import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((20,)),
        layers.Dense(32, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-2)),
        layers.Dropout(0.3),
        layers.Dense(16, activation="tanh"),
        layers.Dense(4, activation="softmax"),
    ]
)
model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
