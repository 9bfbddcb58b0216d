package calc

// completeness counts readings, and compares them with how many were to come: until
// the newest reading of any meter of the project, so that one that died is seen.
func (b *builder) completeness(m *Meter, c *Curve, r *MeterReport) {
	i := c.index(b.report.Period.Start)
	c.Days(b.report.Period, func(k *Closing) {
		r.Readings += k.Readings
		r.Imported += k.Imported
	})
	every, end := m.Every.Milliseconds(), min(b.newest, b.end())
	if every <= 0 || end <= b.calendar[0].start {
		return
	}
	q := &Completeness{Short: make(map[string]string)}
	var all, expected int64
	spec := c.Spec()
	if spec.Key == "" { // nothing is known of its curve
		spec = b.project.register(m)
	}
	for n := 0; b.calendar[n].start < end; n++ {
		d, got := &b.calendar[n], int64(0)
		if i < len(c.days) && c.days[i].Day == d.day {
			got = int64(c.days[i].Readings)
			i++
		}
		want := spec.there(d.start, min(b.calendar[n+1].start, end)) / every
		if want <= 0 {
			continue
		}
		got = min(got, want)
		all, expected = all+got, expected+want
		if got*100 < want*95 {
			q.Short[d.label] = percent(got, want)
		}
	}
	if expected > 0 {
		q.Percent = percent(all, expected)
		r.Completeness = q
	}
}

// there returns for how much of a span a meter is installed by its records, ms.
func (r *Register) there(from, to int64) (sum int64) {
	in := r.Installed || len(r.Changes) == 0
	for i := range r.Changes {
		x := &r.Changes[i]
		if at := min(x.At, to); at > from {
			if in {
				sum += at - from
			}
			from = at
		}
		in = !x.Out
	}
	if in {
		sum += to - from
	}
	return sum
}
