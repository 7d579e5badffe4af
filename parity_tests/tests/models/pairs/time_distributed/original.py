from tensorflow.keras import Input, Sequential
from tensorflow.keras.layers import (
    LSTM,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
    TimeDistributed,
)

model = Sequential(
    [
        Input((5, 10, 10, 3)),
        TimeDistributed(Conv2D(4, 3, activation="relu")),
        TimeDistributed(MaxPooling2D()),
        TimeDistributed(Conv2D(6, 3, activation="relu")),
        TimeDistributed(GlobalAveragePooling2D()),
        LSTM(7),
        Dense(3, activation="softmax"),
    ]
)
model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
