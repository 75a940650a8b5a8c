"""What the library costs, next to others: see README.md."""
