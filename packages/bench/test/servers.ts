// The servers that headgate's own tests start: the benchmarks run against the same.
export { missing as missingPostgres, startPostgres } from "../../headgate/test/servers/postgres.ts"
export { isAvailable as isRedisAvailable, startServer as startRedis } from "../../headgate/test/servers/redis.ts"
