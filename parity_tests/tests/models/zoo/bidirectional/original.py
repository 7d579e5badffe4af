import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((5, 4)),
        layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
        layers.Dense(8, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(2),
    ]
)
model.compile(keras.optimizers.SGD(0.05), loss=keras.losses.MeanSquaredError())
