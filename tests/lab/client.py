# Asks a running rosterd by the generated client, over its Unix socket.
#   client.py FOLDER-OF-THE-CLIENT SOCKET
# Prints JSON: the directories of the status, all user ids read by pages of 7, and one user.
import json
import sys

import httpx

sys.path.insert(0, sys.argv[1])
from rosterd_client import Client
from rosterd_client.api.status import get_status
from rosterd_client.api.users import get_users, get_users_who
from rosterd_client.models import Problem

socket = httpx.HTTPTransport(uds=sys.argv[2])
client = Client(base_url="http://rosterd", httpx_args={"transport": socket}, raise_on_unexpected_status=True)
status = get_status.sync(client=client)
ids, after = [], None
while True:
    page = get_users.sync(client=client, limit=7, **({"after": after} if after else {}))
    ids += [user.id for user in page.users]
    if not page.next_:
        break
    after = page.next_
user = get_users_who.sync(ids[0], client=client)
nobody = get_users_who.sync("nobody@example.com", client=client)
assert isinstance(nobody, Problem), nobody
print(json.dumps({
    "directories": [directory.name for directory in status.directories],
    "ids": ids,
    "user": user.id,
    "refused": nobody.status,
}))
