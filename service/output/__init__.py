"""From a separation to files: stems on disk, then ZIP, JSON or multipart in the audio format asked for."""
