import keras
from keras import layers


def encoder(x, heads, width, hidden):
    attended = layers.MultiHeadAttention(heads, width // heads, name="attention")(x, x)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm1")(x + attended)
    y = layers.Dense(hidden, activation="gelu", name="ffn1")(x)
    y = layers.Dense(width, name="ffn2")(y)
    return layers.LayerNormalization(epsilon=1e-6, name="norm2")(x + y)


inputs = keras.Input((6, 8))
x = encoder(inputs, 2, 8, 16)
x = layers.GlobalAveragePooling1D()(x)
model = keras.Model(inputs, layers.Dense(3, name="head")(x))
model.compile(
    keras.optimizers.AdamW(1e-3, weight_decay=0.05),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
