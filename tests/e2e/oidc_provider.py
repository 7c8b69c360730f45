"""An OpenID Connect provider that lets everybody in as Ann, for testing `st.login`.

Run with the port to listen on.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

PORT = int(sys.argv[1])
ISSUER = f"http://127.0.0.1:{PORT}"
KEY = RSAKey.generate_key(2048, {"kid": "the-key", "use": "sig", "alg": "RS256"})
# What was asked for with a code, by the code.
asked: dict[str, dict[str, str]] = {}


class Provider(BaseHTTPRequestHandler):
    """Answers what a relying party asks."""

    def do_GET(self) -> None:
        """Discovery, keys, and the page where a user would log in."""
        url = urlsplit(self.path)
        if url.path == "/.well-known/openid-configuration":
            self.answer(
                {
                    "issuer": ISSUER,
                    "authorization_endpoint": f"{ISSUER}/authorize",
                    "token_endpoint": f"{ISSUER}/token",
                    "jwks_uri": f"{ISSUER}/keys",
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        elif url.path == "/keys":
            self.answer({"keys": [KEY.as_dict(private=False)]})
        elif url.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            code = f"code-{len(asked)}"
            asked[code] = query
            back = urlencode({"code": code, "state": query["state"]})
            self.send_response(302)
            self.send_header("Location", f"{query['redirect_uri']}?{back}")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """A token for a code."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        query = asked.pop(form["code"][0])
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "ann",
            "aud": query["client_id"],
            "email": "ann@example.org",
            "iat": now,
            "exp": now + 3600,
        }
        if "nonce" in query:
            claims["nonce"] = query["nonce"]
        token = jwt.encode({"alg": "RS256", "kid": "the-key"}, claims, KEY)
        self.answer({"access_token": "x", "token_type": "Bearer", "id_token": token})

    def answer(self, content: object) -> None:
        """Answer with JSON."""
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


print("listening", flush=True)
ThreadingHTTPServer(("127.0.0.1", PORT), Provider).serve_forever()
