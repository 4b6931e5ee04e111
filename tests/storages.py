"""The storages that tests run on, by name: those on disk, and those with a server."""

ON_DISK = {
    # Their URLs, below a test's own directory.
    "file": "file://{}/files",
    "sqlite": "sqlite:///{}/sessions.db",
    "lmdb": "lmdb:///{}/sessions.lmdb",
    "dbm": "dbm:///{}/sessions",
    "migration": "migration:?old=sqlite:///{0}/old.db&new=file://{0}/new",
}
ON_SERVERS = {
    # The classes that start their servers.
    "valkey": "servers.redis:Valkey",
    "redis": "servers.redis:Redis",
    "sentinel": "servers.redis:SteadySentinel",
    "cluster": "servers.redis:Cluster",
    "memcached": "servers.memcached:Memcached",
    "postgresql": "servers.postgresql:PostgreSQL",
    "mariadb": "servers.mariadb:MariaDB",
    "mongodb": "servers.mongodb:Mongodb",
    "dynamodb": "servers.dynamodb:DynamodbLocal",
    "datastore": "servers.datastore:DatastoreEmulator",
}
