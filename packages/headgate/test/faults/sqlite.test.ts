// What SQLite must survive, in short: `npm run faults` runs the same at full length.
import { sqliteFaults } from "./all.ts"
import { testFaults } from "./fault.ts"

testFaults("faults of SQLite", sqliteFaults)
