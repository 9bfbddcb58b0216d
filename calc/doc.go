// Package calc turns what counters showed into energy, and energy into emission
// reductions: counter.go → period.go → methodology.go → report.go.
//
// It is a function of its inputs: no clock, no file but the zone database, no
// goroutine, no float. The same samples, project and methodology give the same
// report to the last digit, in whatever order the samples came and however often
// a curve was stored and restored between them. Where samples come from and where
// closings are kept is left to others, and so is who may decide what is open.
//
// # Counter rules, version 3
//
// The version is part of every report and every closing. A rule that changes
// makes a new version, and closings of another version are not gone on from.
//
//  1. A sample that is not Good is no reading. It does occupy its time: a value
//     that claims the same instant later does not count (rule 4). A sample dated
//     before 1970-01-02 or after 2199 is passed over altogether.
//     Not available is not 0, and a broken clock dates nothing.
//  2. Values are converted to kWh exactly, from Wh, kWh, MWh and GWh, and
//     multiplied by the ratio of the meter record where the register shows the
//     secondary side. A value in any other unit is no reading, and an event says so.
//     A factor that is guessed is a factor of 1000 sooner or later.
//     A meter that counts GJ, m3, Nm3 or t is followed in that unit by the same rules,
//     from values in any unit of the quantity whose factor ends as a decimal; kWh then
//     stands for it, and kW for it per hour.
//  3. The first reading opens the curve. What the counter showed by then was not
//     measured by us and is never claimed.
//  4. Of two samples of equal time the first counts. An equal one is ignored,
//     another one is refused as a conflict.
//     Otherwise a figure would depend on which of the two came last.
//  5. A sample before the newest one is late: the curve is rewound to its day and
//     given the samples in the order of their time.
//     So the order of arrival makes no difference.
//  6. Energy between two instants is the difference of the readings in force at
//     them, in one count that goes on over exchanged registers. In force is the
//     newest accepted reading at or before the instant: one a verifier can point
//     at, never an interpolation. Before the first reading the first is in force.
//     Parts add up to the whole exactly, and a gap with readings on both sides is
//     measured, for the counter went on; only its course is not known. All of it
//     belongs to the day of the reading that ends the gap, and a gap of more than
//     two hours, or two reading intervals of the meter, is an event.
//  7. Where rated power is known, a rise of more than it makes in the time since
//     the reading in force is a jump. It is measured, for the counter shows it;
//     what is beyond rated power × time is held back from what can be claimed.
//     A register may lag behind its plant by five minutes of rated power and one
//     step of its last digit before that is so: clocks, gateways and whole steps
//     do that. What it caught up it cannot catch up again. What rated power makes
//     is rounded down to 10^-6 kWh, a rise that uses up the lag is rounded up.
//  8. A reading below the one in force is a fall, also to 0. It is not accepted:
//     the reading in force stays, and the fall is pending. When a reading is back
//     at or above it, the fall was a dip and no energy is lost; rated power known
//     and the way back no faster than it, the register counted past the old value:
//     the event says recovered where it may have begun anew from 0, so that at most
//     too little is measured, and correction where it cannot have.
//     A dip and a restart look the same at first. To take every fall for a restart
//     multiplies the energy of real plants by 100,000.
//     A correction takes back what was counted too much: nothing is measured until
//     the register has passed its old value.
//  9. A fall from above 90 % of a declared modulus to a value that rated power can
//     have reached by way of it is a rollover as soon as the register has counted
//     on, no faster than rated power and without another fall. The modulus is
//     added, and the energy is measured across.
//     A dip to 0 near the modulus does not count on.
//  10. A fall to a value that rated power can have counted from 0 since the reading
//     before, and at most half of that reading, is a restart as soon as the
//     register has counted on for 24 hours with at least three rises, no faster
//     than rated power and without another fall. What it counts from its first
//     reading on is measured; what happened between the two readings is not.
//     The new register is known to begin at 0 by inference only; no energy rests on it.
//  11. A jump after which the register falls back, within 24 hours of plain
//     counting, to the course that rated power allows from before the jump, and
//     nearer to where it was than to where it went, was a spike: the readings
//     between are not accepted and nothing of it is measured.
//     Otherwise one impossible value would end the count.
//  12. At a change, which a meter record, a changed serial number or a person's
//     ruling names, one register ends and another begins. A final value not below
//     the reading in force is a reading of the old one at that instant, an initial
//     value one of the new one; without it the first reading of the new one opens
//     it. Energy that neither shows is not measured. A change takes its instant and
//     has effect as soon as a sample of that time or later has come.
//  13. A reading outside the time in which a meter is installed by its records, or
//     in a span that a person has ruled out, is no reading. An event counts them.
//  14. A register that answered with one value for 72 hours or more and then went
//     on was frozen, or its plant stood still: an event says so, no energy moves.
//  15. Where there is only power, each value holds until the next sample, good or
//     not, and no longer than the project states; a negative one counts as 0. The
//     integral is exact; the register that it makes is cut off after 10^-9 kWh.
//     What is calculated like that is marked, and all other rules apply to it.
//  16. Where heat is to be had from a flow and two temperatures, its power is flow ×
//     (warm − cold) × density × specific heat, exactly, of values that one device gave
//     in one reading; rule 15 integrates it. Without one of the three, or in units that
//     do not fit, there is no value: a flow is never multiplied by a temperature of
//     another time. It is a rule beside the others, which it does not change.
//
// What a later reading decides by rules 8 to 11 is applied from where it began:
// the days between are closed anew. What no rule decides stays pending, is shown,
// and measures nothing until a person rules (rule 12 or 13).
//
// # Report rules, part of the same version
//
//  1. On days that no certificate of a meter covers, its maximum permissible error
//     is taken of what that meter measured, before anything is netted, and against
//     the project: off what raises ER, onto what lowers it. What a reading brings
//     that was made on days before it is theirs too: one of them is enough.
//     Whether a meter raises or lowers ER is seen by giving the formulas one kWh more.
//  2. Of a meter that lowers ER, nothing is held back, and where it did not measure
//     all that rated power makes in that time is added: an undecided fall, an
//     exchange without values, no meter there, no reading at all up to the newest one
//     of any meter, no value of a power that holds, a spike. Of a dip or a correction from
//     which the register counted on it is what it may have counted a second time.
//     Without rated power nobody can say how much any of that is at most: the line is
//     marked unbounded, and the period cannot be sealed before it has one, the readings
//     come or a person rules.
//     Not to have measured must not pay.
//  3. An input that no meter gave counts in the vintage that holds all of its days.
//     One that reaches over an end of a period or a year counts nowhere. While one
//     counts nowhere, or a vintage has no amount of what comes as inputs, the
//     report says so and the period cannot be sealed: nobody said that it is 0.
//  4. Check meters and inputs that are only compared are in no total. An invoice is
//     compared with what the meters counted on exactly its own local days.
//  5. ER is rounded down to whole tonnes once for each vintage.
//  6. The formulas give RE, PE and ER of a vintage. A methodology in which a part of
//     them is fixed ex ante by itself, such as a reference per period, counts that part
//     once for each evaluation: a period that goes over the end of a year is refused
//     for it. A reference per year is multiplied by the years of the vintage, which the
//     calendar gives: its days by those of its calendar year. Two halves are the whole.
//  7. What reaches over the end of a vintage or a period (an undecided or decided fall, a
//     gap, an exchange) shows on both sides of it, with the part of its time that is
//     there. Energy that the register shows belongs to the day of the reading that ends it.
//     So that no gap moves energy into a period or out of one to its advantage: of what a
//     register counted over the start of the period, as much as rated power makes by then
//     is held back of a meter that raises ER; of what it counted over the end of a vintage,
//     as much as rated power makes up to there is added to one that lowers ER. It may be
//     taken in both of two periods; it pays in neither. Without rated power it is all.
//  8. Completeness counts from the first day of the period to its end, or to the newest
//     reading of any meter, whichever is earlier, while the meter is installed.
package calc

// RulesVersion is the version of the counter rules above.
const RulesVersion = 3

const (
	lagMs    = 5 * 60 * 1000        // how far a register may lag behind its plant, rule 7
	gapMs    = 2 * 3600 * 1000      // longer than this is a gap, rule 6
	steadyMs = 24 * 3600 * 1000     // counting on, rules 10 and 11
	frozenMs = 3 * 24 * 3600 * 1000 // one value for so long, rule 14
	minRises = 3                    // rule 10
)
