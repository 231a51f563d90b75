"""What an operator needs: health, metrics, build data."""
