"""Sockets and sensors, behind the ports that the actors ask for."""
