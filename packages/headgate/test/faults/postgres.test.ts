// What PostgreSQL must survive, in short: `npm run faults` runs the same at full length.
import { postgresFaults } from "./all.ts"
import { testFaults } from "./fault.ts"

testFaults("faults of PostgreSQL", postgresFaults)
