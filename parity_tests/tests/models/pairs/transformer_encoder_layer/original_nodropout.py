from tensorflow import keras
from tensorflow.keras import layers


class TransformerBlock(layers.Layer):
    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.0):
        super().__init__()
        self.att = layers.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim // num_heads)
        self.ffn = keras.Sequential(
            [layers.Dense(ff_dim, activation="relu"), layers.Dense(embed_dim)]
        )
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1, self.dropout2 = layers.Dropout(rate), layers.Dropout(rate)

    def call(self, inputs, training=None):
        a = self.dropout1(self.att(inputs, inputs), training=training)
        x = self.layernorm1(inputs + a)
        f = self.dropout2(self.ffn(x), training=training)
        return self.layernorm2(x + f)


inputs = layers.Input(shape=(10, 8))
x = TransformerBlock(8, 2, 16)(inputs)
x = layers.GlobalAveragePooling1D()(x)
x = layers.Dense(12, activation="relu")(x)
outputs = layers.Dense(2, activation="softmax")(x)
model = keras.Model(inputs=inputs, outputs=outputs)
model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
