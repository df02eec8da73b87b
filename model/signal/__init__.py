"""From samples to what the network hears, and from masks back to samples: STFT, features, segments, masks, activity."""
