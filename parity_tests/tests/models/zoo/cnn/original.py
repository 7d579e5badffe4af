import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((15, 14, 3)),
        layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.LeakyReLU(0.3),
        layers.Conv2D(12, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(
    keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
)
