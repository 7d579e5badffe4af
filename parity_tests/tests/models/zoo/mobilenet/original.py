import keras
from keras import layers

inputs = keras.Input((9, 9, 4))
x = layers.Conv2D(12, 1, use_bias=False, name="expand")(inputs)
x = layers.BatchNormalization(momentum=0.9, name="expand_bn")(x)
x = layers.ReLU(6.0, name="expand_relu")(x)
x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="depthwise")(x)
x = layers.BatchNormalization(momentum=0.9, name="depthwise_bn")(x)
x = layers.ReLU(6.0, name="depthwise_relu")(x)
x = layers.Conv2D(8, 1, use_bias=False, name="project")(x)
x = layers.GlobalAveragePooling2D()(x)
model = keras.Model(inputs, layers.Dense(3, activation="sigmoid", name="head")(x))
model.compile(
    keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.05), keras.losses.BinaryCrossentropy()
)
