import keras

model = keras.applications.ResNet50(
    weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None
)
model.compile(
    keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
