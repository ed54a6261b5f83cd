// What Redis must survive, in short: `npm run faults` runs the same at full length.
import { redisFaults } from "./all.ts"
import { testFaults } from "./fault.ts"

testFaults("faults of Redis", redisFaults)
