"""Certificates of routers, each file with its key, for the next hundred years. They were made with OpenSSL, as a person
makes them at home:

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout K -out C -days 36500 -subj /CN=herd
"""

from pathlib import Path

_FILES = Path(__file__).parent / "data" / "tls"

HOUSE = str(_FILES / "house.pem")
OTHER = str(_FILES / "other.pem")  # of the same name: the house's next one, or an impostor's
VOUCHED = str(_FILES / "vouched.pem")  # for localhost, by AUTHORITY
AUTHORITY = str(_FILES / "authority.pem")  # without its key
ODD = str(_FILES / "odd.pem")  # its curve (secp256k1) is none that clients offer
LOCKED = str(_FILES / "locked.pem")  # HOUSE's key with a passphrase, alone
