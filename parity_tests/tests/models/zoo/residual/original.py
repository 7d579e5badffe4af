import keras
from keras import layers


def block(x, filters, name):
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv1")(x)
    y = layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn1")(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv2")(y)
    y = layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn2")(y)
    return layers.ReLU()(layers.Add()([x, y]))


def build_model():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    x = block(x, 6, "block1")
    x = block(x, 6, "block2")
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(5, name="head")(x)
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.RMSprop(1e-3), loss)
    return model
