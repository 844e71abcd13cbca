"""`redis-cli COMMAND …`, as far as the runbook uses it: the Valkey of the local stack comes without it.

Sends the command to the server of REDIS_URL and prints the response as redis-cli does.
"""

import os
import sys

import redis

_client = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
_connection = _client.connection_pool.get_connection()
_connection.send_command(*sys.argv[1:])
_response = _connection.read_response()
if isinstance(_response, list):
    print("\n".join(map(str, _response)))
else:
    print(f"(integer) {_response}" if isinstance(_response, int) else _response)
