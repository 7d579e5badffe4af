import keras
from keras import layers, regularizers

model = keras.Sequential(
    [
        keras.Input((12, 12, 3)),
        layers.Conv2D(6, 3, activation="relu", kernel_regularizer=regularizers.l2(5e-3)),
        layers.GlobalAveragePooling2D(),
        layers.Dense(8, activation="relu", kernel_regularizer=regularizers.l2(5e-3)),
        layers.Dense(4, activation="softmax", kernel_regularizer=regularizers.l2(5e-3)),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss="categorical_crossentropy")
