// Package calc turns what counters showed into energy, and energy into emission
// reductions: counter.go → period.go → methodology.go → report.go.
//
// It is a function of its inputs: no clock, no file but the zone database, no
// goroutine, no float. The same samples, project and methodology give the same
// report to the last digit, in whatever order the samples came and however often
// a curve was stored and restored between them. Where samples come from and where
// closings are kept is left to others, and so is who may decide what is open.
//
// # Counter rules, version 1
//
// The version is part of every report and every closing. A rule that changes
// makes a new version, and closings of another version are not gone on from.
//
//  1. A sample that is not Good is no reading. It does occupy its time: a value
//     that claims the same instant later does not count (rule 4). A sample dated
//     before 1970-01-02 or after 2199 is passed over altogether.
//     Not available is not 0, and a broken clock dates nothing.
//  2. Values are converted to kWh exactly, from Wh, kWh, MWh and GWh. A value in
//     any other unit is no reading, and an event says so.
//     A factor that is guessed is a factor of 1000 sooner or later.
//  3. The first reading opens the curve. What the counter showed by then was not
//     measured by us and is never claimed.
//  4. Of two samples of equal time the first counts. An equal one is ignored,
//     another one is refused as a conflict.
//     Otherwise a figure would depend on which of the two came last.
//  5. A sample before the newest one is late: the curve is rewound to its day and
//     given the samples in the order of their time.
//     So the order of arrival makes no difference.
//  6. Energy between two instants is the difference of the readings in force at
//     them. In force is the newest accepted reading at or before the instant:
//     one a verifier can point at, never an interpolation. Before the first
//     reading the first is in force.
//     Parts add up to the whole exactly, and a gap with readings on both sides is
//     measured, for the counter went on; only its course is not known. All of it
//     belongs to the day of the reading that ends the gap.
//  7. Where rated power is known, a rise of more than it makes in the time since
//     the reading in force is a jump. It is measured, for the counter shows it;
//     what is beyond rated power × time is held back from what can be claimed.
//     A register may lag behind its plant by five minutes of rated power and one
//     step of its last digit before that is so: clocks, gateways and whole steps
//     do that. What it caught up it cannot catch up again. What rated power makes
//     is rounded down to 10^-6 kWh.
//  8. A reading below the one in force is a fall, also to 0. It is not accepted:
//     the reading in force stays, and the fall is pending. When a reading is back
//     at or above it, the fall was a dip and no energy is lost; rated power known
//     and the way back no faster than it, the register may as well have been
//     exchanged and counted past the old value, and the event says recovered: at
//     most too little is measured. While a fall is pending nothing is measured.
//     A dip and a restart look the same at first. To take every fall for a restart
//     multiplies the energy of real plants by 100,000.
//
// Rollover, restart, replacement and backward correction are decided by nobody
// yet: they stay pending and are shown.
package calc

// RulesVersion is the version of the counter rules above.
const RulesVersion = 1

// lagMs is how far a register may lag behind its plant by rule 7.
const lagMs = 5 * 60 * 1000
