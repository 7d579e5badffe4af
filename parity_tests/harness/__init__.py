"""What the parity tests are made with."""
