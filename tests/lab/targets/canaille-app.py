# Canaille, with one OAuth client. Its filters give all users, it takes two users of one name, and it
# knows no externalId. PORT is in the environment; the base is /scim/v2, the token server /oauth/token.
import datetime
import os

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from canaille import create_app
from canaille.backends import Backend
from joserfc.jwk import JWKRegistry
from pytest_iam import Server

port = int(os.environ["PORT"])
key = JWKRegistry.generate_key("RSA", 2048)
key.ensure_kid()
app = create_app(
    config={
        "TESTING": True,
        "ENV_FILE": None,
        "SECRET_KEY": "x",
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "http",
        "SERVER_NAME": f"localhost:{port}",
        "CANAILLE": {
            "DATABASE": "memory",
            "JAVASCRIPT": False,
            "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc", "manage_oidc"]}},
        },
        "CANAILLE_SCIM": {"ENABLE_SERVER": True},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }
)
server = Server(app, port, Backend.instance)
with app.app_context():
    server.backend.save(
        server.models.Client(
            client_id="rosterd",
            client_secret=os.environ["SECRET"],
            client_name="rosterd",
            grant_types=["client_credentials"],
            response_types=[],
            scope=["openid"],
            token_endpoint_auth_method="client_secret_basic",
            client_id_issued_at=datetime.datetime.now(datetime.UTC),
        )
    )
server.httpd.serve_forever()
