"""What lets payg run with nothing installed: embedded servers, a supervisor, the replay of real traffic."""
