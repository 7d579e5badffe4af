import keras
from keras import layers

title = keras.Input((6,), name="title")
price = keras.Input((2,), name="price")
x = layers.Dense(8, activation="relu", name="read")(title)
x = layers.Concatenate()([x, price])
x = layers.Dense(6, activation="relu", name="mix")(x)
stars = layers.Dense(1, name="stars")(x)
sold = layers.Dense(1, activation="sigmoid", name="sold")(x)
model = keras.Model([title, price], [stars, sold])
model.compile(
    keras.optimizers.SGD(0.1), loss=["mse", "binary_crossentropy"], loss_weights=[1.0, 0.25]
)
