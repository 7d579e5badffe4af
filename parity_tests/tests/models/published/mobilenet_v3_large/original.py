import keras

model = keras.applications.MobileNetV3Large(
    weights=None,
    input_shape=(64, 64, 3),
    classes=10,
    classifier_activation=None,
    include_preprocessing=False,
)
model.compile(
    keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
