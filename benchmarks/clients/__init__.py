"""The clients that are measured: one small file each. They send back what they receive."""
