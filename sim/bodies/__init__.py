"""Bodies of devices, as PyBullet articulated bodies under magnetic and fluid loads."""
