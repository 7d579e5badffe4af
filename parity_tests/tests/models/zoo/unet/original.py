import keras
from keras import layers

inputs = keras.Input((8, 8, 2))
down = layers.Conv2D(4, 3, padding="same", activation="relu", name="down")(inputs)
x = layers.MaxPooling2D(2)(down)
x = layers.Conv2D(6, 3, padding="same", activation="elu", name="bottom")(x)
up = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu", name="up")(x)
wide = layers.UpSampling2D(2, interpolation="bilinear", name="wide")(x)
x = layers.Concatenate()([down, up, wide])
outputs = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.SGD(0.3), loss="binary_crossentropy")
