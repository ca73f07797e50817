/**
 * From the user's options to ioredis': what does not make sense dies here, and what keeps a command from being sent twice or late
 * is fixed here.
 */
import * as Duration from "effect/Duration"
import type * as Redis from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import type { ClusterOptions, RedisOptions } from "ioredis"
import { codeOf } from "./ioRedisError.ts"

/**
 * One server's place. Default ports: 6379, of a sentinel 26379.
 *
 * @category models
 * @since 0.1.0
 */
export interface Address {
  readonly host: string
  readonly port?: number | undefined
}

/**
 * Where Redis is and how it is used. One of `url` or `host`, `sentinels`, `cluster`; without any, `127.0.0.1:6379`.
 *
 * **Shape**
 * - `url`: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS. Other options win over its parts.
 * - `sentinels`, `name`: some sentinels (`"host:port"`) and the master's name there.
 * - `cluster`: some nodes (`"host:port"`); the others are found. Scripts are loaded on every master; `MOVED` and `ASK` are
 *   followed; a subscription goes through one node, another when that is lost. Commands without a key go to any node.
 * - `username`, `password`, `database`, `tls`: as everywhere. In a cluster for all nodes.
 * - `connect`: what building the layer does when Redis has not answered within `connectTimeout`: `"now"` (default) fails,
 *   `"background"` goes on connecting, and commands fail `Unreachable` until there is a connection.
 * - `pool`: of the connections behind `Redis.reserve`; default at most 10.
 * - `ioredis`: anything else ioredis takes (`connectionName`, `family`, `natMap`, `path` ...). What keeps a command from being
 *   sent twice or late cannot be changed.
 *
 * **Units** `commandTimeout`: from sending a command to its answer; default 250 ms; not on reserved connections. `connectTimeout`:
 * from the first packet to being ready; default 1 second.
 *
 * **Errors** Options that make no sense die at construction, naming the value.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly url?: string | Redacted.Redacted | undefined
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly sentinels?: ReadonlyArray<Address | string> | undefined
  readonly name?: string | undefined
  readonly cluster?: ReadonlyArray<Address | string> | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted | undefined
  readonly database?: number | undefined
  readonly tls?: boolean | NonNullable<RedisOptions["tls"]> | undefined
  readonly commandTimeout?: Duration.Input | undefined
  readonly connectTimeout?: Duration.Input | undefined
  readonly connect?: "now" | "background" | undefined
  readonly pool?: Redis.PoolOptions | undefined
  readonly ioredis?: RedisOptions | undefined
}

type Place = { readonly host: string; readonly port: number }

/** Where Redis is. */
export type Target =
  | { readonly _tag: "Single"; readonly at: Place }
  | { readonly _tag: "Sentinel"; readonly sentinels: ReadonlyArray<Place>; readonly name: string }
  | { readonly _tag: "Cluster"; readonly nodes: ReadonlyArray<Place> }

/** The same, for messages. */
export const textOf = (target: Target): string =>
  (target._tag === "Single" ? [target.at] : target._tag === "Sentinel" ? target.sentinels : target.nodes)
    .map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`).join(", ")

/** The options, checked and complete. Times in milliseconds. */
export interface Settings {
  readonly target: Target
  readonly login: Pick<RedisOptions, "username" | "password" | "db" | "tls">
  readonly commandTimeout: number
  readonly connectTimeout: number
  readonly connect: "now" | "background"
  readonly pool: Redis.PoolOptions | undefined
  readonly extra: RedisOptions
}

const die = (name: string, value: unknown, wanted: string): never => {
  throw new RangeError(`IoRedis.layer: ${name} is ${String(value)}; it must be ${wanted}`)
}

const portOf = (name: string, value: number): number =>
  Number.isInteger(value) && value >= 1 && value <= 65_535 ? value : die(name, value, "a port from 1 to 65535")

const millisOf = (name: string, input: Duration.Input): number => {
  const duration = Duration.fromInput(input)
  const millis = duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
  return millis >= 1 && millis < 2 ** 31 ? Math.ceil(millis) : die(name, input, "a duration from 1 ms to 24 days")
}

const placeOf = (name: string, defaultPort: number) => (address: Address | string): Place => {
  if (typeof address !== "string") {
    return { host: address.host, port: portOf(`${name}.port`, address.port ?? defaultPort) }
  }
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d+))?$/.exec(address.trim()) ?? []
  const host = bracketed ?? plain ?? die(name, address, "host:port")
  return { host, port: portOf(name, port === undefined ? defaultPort : Number(port)) }
}

const placesOf = (name: string, port: number, addresses: ReadonlyArray<Address | string>): ReadonlyArray<Place> =>
  addresses.length === 0 ? die(name, "empty", "a list of at least one server") : addresses.map(placeOf(name, port))

const valueOf = (secret: string | Redacted.Redacted | undefined): string | undefined =>
  typeof secret === "object" ? Redacted.value(secret) : secret

const databaseOf = (value: number): number =>
  Number.isInteger(value) && value >= 0 ? value : die("database", value, "an integer of at least 0")

const connectOf = (value: "now" | "background"): "now" | "background" =>
  value === "now" || value === "background" ? value : die("connect", value, `"now" or "background"`)

/** A URL's parts, or nothing where it is none. */
export const parseUrl = (text: string): Options | undefined => {
  const url = URL.parse(text)
  const database = /^\/?(\d*)$/.exec(url?.pathname ?? "x")?.[1]
  if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === "" || database === undefined) {
    return undefined
  }
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? undefined : Number(url.port),
    username: url.username === "" ? undefined : decodeURIComponent(url.username),
    password: url.password === "" ? undefined : decodeURIComponent(url.password),
    database: database === "" ? undefined : Number(database),
    tls: url.protocol === "rediss:" ? true : undefined
  }
}

const wantedUrl = "redis://[user:password@]host[:port][/database], or rediss:// for TLS"

// What the options say wins over the URL.
const withUrl = (options: Options): Options => {
  const text = valueOf(options.url)
  if (text === undefined) return options
  const parts = parseUrl(text) ?? die("url", text.replace(/\/\/.*@/, "//***@"), wantedUrl)
  const said = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  return { ...parts, ...said }
}

const targetOf = (options: Options): Target => {
  const { cluster, name, sentinels } = options
  const kinds = { cluster, sentinels, "url or host": options.url ?? options.host ?? options.port }
  const named = Object.entries(kinds).flatMap(([kind, value]) => value === undefined ? [] : [kind])
  if (named.length > 1) return die("the target", named.join(" and "), "one of url or host, sentinels, cluster")
  if (cluster !== undefined) return { _tag: "Cluster", nodes: placesOf("cluster", 6379, cluster) }
  if (sentinels === undefined) {
    const { host, port } = withUrl(options)
    return { _tag: "Single", at: { host: host ?? "127.0.0.1", port: portOf("port", port ?? 6379) } }
  }
  return {
    _tag: "Sentinel",
    sentinels: placesOf("sentinels", 26_379, sentinels),
    name: name ?? die("name", name, "the name of the master, as the sentinels know it")
  }
}

const known: ReadonlySet<string> = new Set([
  ..."url host port sentinels name cluster username password database tls".split(" "),
  ..."commandTimeout connectTimeout connect pool ioredis".split(" ")
])

/** Checks the options and fills in what they leave out. */
export const settingsOf = (options: Options): Settings => {
  const unknown = Object.keys(options).find((name) => !known.has(name))
  if (unknown !== undefined) die("an option", unknown, `one of ${[...known].join(", ")}`)
  const target = targetOf(options)
  const { database, password, tls, username } = withUrl(options)
  if (target._tag === "Cluster" && (database ?? 0) !== 0) die("database", database, "0, the only one of a cluster")
  const secret = valueOf(password)
  return {
    target,
    login: {
      ...(username === undefined ? {} : { username }),
      ...(secret === undefined ? {} : { password: secret }),
      ...(database === undefined ? {} : { db: databaseOf(database) }),
      ...(tls === undefined || tls === false ? {} : { tls: tls === true ? {} : tls })
    },
    commandTimeout: millisOf("commandTimeout", options.commandTimeout ?? 250),
    connectTimeout: millisOf("connectTimeout", options.connectTimeout ?? 1000),
    connect: connectOf(options.connect ?? "now"),
    pool: options.pool,
    extra: options.ioredis ?? {}
  }
}

/** How long to wait before the n-th attempt in a row: 25 to 50 ms at first, at most a second. */
export const reconnectDelay = (attempt: number): number =>
  Math.min(50 * 2 ** Math.min(attempt - 1, 10), 1000) * (0.5 + Math.random() / 2)

// What every connection has in common. Nothing waits for a connection, and nothing is sent twice.
const common = (settings: Settings): RedisOptions => ({
  ...settings.extra,
  ...settings.login,
  ...(settings.target._tag === "Single" ? settings.target.at : {}),
  ...(settings.target._tag === "Sentinel"
    ? {
      sentinels: settings.target.sentinels.map((place) => ({ ...place })),
      name: settings.target.name,
      sentinelCommandTimeout: settings.connectTimeout,
      sentinelRetryStrategy: reconnectDelay
    }
    : {}),
  lazyConnect: true,
  connectTimeout: settings.connectTimeout,
  disconnectTimeout: 100,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  maxLoadingRetryTime: 200
})

/**
 * The connection all commands share. One that has not answered anything for four command timeouts (at least a second) is given
 * up, since a half-open one never ends by itself. `READONLY` reconnects: behind the name there is a new master. ioredis' own
 * timeout is that of a handshake; a command's is shorter and kept where it is sent.
 */
export const sharedOptions = (settings: Settings): RedisOptions => ({
  ...common(settings),
  commandTimeout: Math.max(settings.commandTimeout, settings.connectTimeout),
  socketTimeout: Math.max(4 * settings.commandTimeout, 1000),
  retryStrategy: reconnectDelay,
  reconnectOnError: (error) => codeOf(error.message) === "READONLY"
})

/** A connection of one owner, for commands that block and for subscriptions: no timeout, and its end is its owner's to see. */
export const dedicatedOptions = (settings: Settings): RedisOptions => ({ ...common(settings), retryStrategy: null })

/**
 * A cluster's. `enableOfflineQueue` there also means "wait while a node connects", which a node that has just joined needs; while
 * the cluster itself is away nothing may wait, and the connection sees to that. `retryDelayOnFailover` and its like would send a
 * command again whose connection ended.
 */
export const clusterOptions = (settings: Settings, node: RedisOptions, reconnects: boolean): ClusterOptions => ({
  redisOptions: node,
  ...(settings.extra.natMap === undefined || settings.extra.natMap === null ? {} : { natMap: settings.extra.natMap }),
  lazyConnect: true,
  enableOfflineQueue: true,
  clusterRetryStrategy: reconnects ? reconnectDelay : () => null,
  slotsRefreshTimeout: settings.connectTimeout,
  retryDelayOnFailover: 0,
  retryDelayOnClusterDown: 0,
  retryDelayOnTryAgain: 50
})
