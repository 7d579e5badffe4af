from tensorflow.keras import Model, layers

inputs = layers.Input(shape=(1, 8, 8, 8))
x = layers.Conv3D(
    4, kernel_size=5, activation="relu", padding="same", data_format="channels_first"
)(inputs)
x = layers.BatchNormalization(axis=1)(x)
x = layers.Dropout(0.25)(x)
res = layers.Conv3D(4, kernel_size=1, padding="valid", data_format="channels_first")(inputs)
x = layers.Add()([x, res])
x = layers.MaxPooling3D(2, data_format="channels_first")(x)
x = layers.Flatten()(x)
x = layers.Dense(6, activation="relu")(x)
outputs = layers.Dense(1)(x)
cnn = Model(inputs, outputs)
cnn.compile(optimizer="sgd", loss="mae")
