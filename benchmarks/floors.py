"""The floors: the least that a Pyramid session can do on each storage.

A signed id in a cookie, one load, one store that asks nobody, msgspec. No expiry, no merging, no
checks, no outages: not to be used, only to be measured against.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import sqlite3

import msgspec
from pyramid.interfaces import ISession
from zope.interface import implementer

_SECRET = secrets.token_bytes(32)


def _sign(session_id):
    return hmac.digest(_SECRET, session_id.encode(), "sha256").hex()


@implementer(ISession)
class FloorSession(dict):
    """Loads when it is made, stores if it was told of a change."""

    created, new, dirty, ended = 0, False, False, False

    def changed(self):
        self.dirty = True

    def __setitem__(self, key, value):
        self.dirty = True
        dict.__setitem__(self, key, value)

    def update(self, *args, **kwargs):
        self.dirty = True
        dict.update(self, *args, **kwargs)

    def invalidate(self):
        self.clear()
        self.ended, self.dirty = True, False


def floor(load, store, delete):
    """Return a session factory on three functions of the storage."""

    def factory(request):
        cookie = request.cookies.get("session", "")
        session_id, data = cookie[:64], None
        if hmac.compare_digest(_sign(session_id), cookie[64:]):
            data = load(session_id)
        session = FloorSession() if data is None else FloorSession(msgspec.msgpack.decode(data))
        session.new = data is None

        def finish(request, response):
            if session.dirty:
                key = secrets.token_hex(32) if session.new else session_id
                store(key, msgspec.msgpack.encode(dict(session)))
                if session.new:
                    response.set_cookie("session", key + _sign(key), httponly=True, samesite="Lax")
            elif session.ended:
                delete(session_id)
                response.delete_cookie("session")

        request.add_response_callback(finish)
        return session

    factory.calls = (load, store, delete)
    return factory


def memory():
    records = {}
    return floor(records.get, records.__setitem__, lambda key: records.pop(key, None))


def redis(url):
    from redis import Redis

    client = Redis.from_url(url)
    return floor(client.get, client.set, client.delete)


def memcached(host, port):
    from pymemcache import Client

    client = Client((host, port), default_noreply=False)
    return floor(client.get, client.set, client.delete)


def file(folder):
    def load(key):
        try:
            with open(f"{folder}/{key}", "rb") as opened:
                return opened.read()
        except FileNotFoundError:
            return None

    def store(key, data):
        with open(f"{folder}/{key}.new", "wb") as opened:
            opened.write(data)
        os.rename(f"{folder}/{key}.new", f"{folder}/{key}")

    return floor(load, store, lambda key: os.unlink(f"{folder}/{key}"))


def sqlite(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS floor (id TEXT PRIMARY KEY, data BLOB)")

    def load(key):
        found = connection.execute("SELECT data FROM floor WHERE id = ?", (key,)).fetchone()
        return found and found[0]

    def store(key, data):
        connection.execute("INSERT OR REPLACE INTO floor VALUES (?, ?)", (key, data))

    return floor(
        load, store, lambda key: connection.execute("DELETE FROM floor WHERE id = ?", (key,))
    )


def postgresql(dsn):
    import psycopg

    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute("CREATE TABLE IF NOT EXISTS floor (id text PRIMARY KEY, data bytea)")
    upsert = "INSERT INTO floor VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET data = excluded.data"

    def load(key):
        found = connection.execute("SELECT data FROM floor WHERE id = %s", (key,)).fetchone()
        return found and found[0]

    return floor(
        load,
        lambda key, data: connection.execute(upsert, (key, data)),
        lambda key: connection.execute("DELETE FROM floor WHERE id = %s", (key,)),
    )


def mariadb(**where):
    import pymysql

    connection = pymysql.connect(autocommit=True, **where)
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS floor (id char(64) PRIMARY KEY, data mediumblob)")

    def load(key):
        cursor.execute("SELECT data FROM floor WHERE id = %s", (key,))
        found = cursor.fetchone()
        return found and found[0]

    return floor(
        load,
        lambda key, data: cursor.execute("REPLACE INTO floor VALUES (%s, _binary %s)", (key, data)),
        lambda key: cursor.execute("DELETE FROM floor WHERE id = %s", (key,)),
    )


def mongodb(url):
    from pymongo import MongoClient

    documents = MongoClient(url).get_default_database()["floor"]

    def load(key):
        found = documents.find_one({"_id": key})
        return found and found["data"]

    def store(key, data):
        documents.replace_one({"_id": key}, {"data": data}, upsert=True)

    return floor(load, store, lambda key: documents.delete_one({"_id": key}))


def dynamodb(endpoint_url, region):
    import boto3

    client = boto3.client("dynamodb", region_name=region, endpoint_url=endpoint_url)
    key_of_table = {"AttributeName": "id"}
    client.create_table(
        TableName="floor",
        AttributeDefinitions=[{**key_of_table, "AttributeType": "S"}],
        KeySchema=[{**key_of_table, "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def load(key):
        # As the default of the service is an older state of it, which no session can do with.
        found = client.get_item(TableName="floor", Key={"id": {"S": key}}, ConsistentRead=True)
        return found["Item"]["data"]["B"] if "Item" in found else None

    def store(key, data):
        client.put_item(TableName="floor", Item={"id": {"S": key}, "data": {"B": data}})

    return floor(
        load, store, lambda key: client.delete_item(TableName="floor", Key={"id": {"S": key}})
    )


def datastore(project, emulator):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import datastore

    client = datastore.Client(project, credentials=AnonymousCredentials(), _use_grpc=False)
    client.base_url = f"http://{emulator}"

    def load(key):
        found = client.get(client.key("floor", key))
        return found and found["data"]

    def store(key, data):
        entity = datastore.Entity(client.key("floor", key), exclude_from_indexes=("data",))
        entity["data"] = data
        client.put(entity)

    return floor(load, store, lambda key: client.delete(client.key("floor", key)))


def lmdb(path):
    import lmdb

    environment = lmdb.open(path, subdir=False, map_size=1 << 30, sync=False, metasync=False)

    def load(key):
        with environment.begin() as transaction:
            return transaction.get(key.encode())

    def store(key, data):
        with environment.begin(write=True) as transaction:
            transaction.put(key.encode(), data)

    def delete(key):
        with environment.begin(write=True) as transaction:
            transaction.delete(key.encode())

    return floor(load, store, delete)


def dbm(path):
    import dbm

    database = dbm.open(path, "c")  # noqa: SIM115 (for as long as the process is there)
    return floor(database.get, database.__setitem__, database.__delitem__)


def cookie():
    """All in the cookie, signed; that is not what others call a floor, as there is no storage."""

    def factory(request):
        value = request.cookies.get("session", "")
        data = None
        if hmac.compare_digest(_sign(value[64:]), value[:64]):
            data = base64.urlsafe_b64decode(value[64:])
        session = FloorSession() if data is None else FloorSession(msgspec.msgpack.decode(data))
        session.new = data is None

        def finish(request, response):
            if session.dirty:
                data = msgspec.msgpack.encode(dict(session))
                value = base64.urlsafe_b64encode(data).decode()
                response.set_cookie("session", _sign(value) + value, httponly=True, samesite="Lax")
            elif session.ended:
                response.delete_cookie("session")

        request.add_response_callback(finish)
        return session

    return factory
