import keras
from keras import layers, ops


class Autoencoder(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = layers.Dense(5, activation="silu")
        self.norm = layers.LayerNormalization()
        self.decoder = layers.Dense(12)

    def call(self, x):
        return self.decoder(self.norm(self.encoder(x)))

    def train_step(self, data):
        x, _ = data
        if keras.backend.backend() == "torch":
            self.zero_grad()
            loss = ops.mean(ops.square(self(x, training=True) - x))
            loss.backward()
            gradients = [w.value.grad for w in self.trainable_variables]
        else:
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = ops.mean(ops.square(self(x, training=True) - x))
            gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


model = Autoencoder()
model.compile(keras.optimizers.Adagrad(0.05), loss="mse")


def batch():
    import numpy as np

    x = np.random.default_rng(3).normal(size=(10, 12)).astype("float32")
    return x, x
