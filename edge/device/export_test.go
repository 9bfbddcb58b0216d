package device

// SunSpecTable is the embedded table, for the test that compares it with its source.
var SunSpecTable = sunspecTable
