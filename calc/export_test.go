package calc

// FixedPart returns a part of RE, PE or ER that is fixed by itself, "" for none.
func FixedPart(m *Methodology) string {
	f, err := m.compile()
	if err != nil {
		return err.Error()
	}
	for _, e := range []*expr{f.re, f.pe, f.er} {
		if part := m.fixed(e); part != nil {
			return m.paper(part)
		}
	}
	return ""
}
