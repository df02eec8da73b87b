"""What happens to voices between mouths and a file: turns, rooms, noise, microphones and telephone lines."""
