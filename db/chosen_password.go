package db

// This file handles the password that a user with a second factor chooses through a link. It is stored with the second step and set only
// after the right code, so that access to the mailbox is not enough. Until then the old password and the link still work, and so does the
// link's form on another device.

// chosenPassword is a password that waits for the second factor of its user.
type chosenPassword struct {
	hash     string
	linkHash []byte // of the link or invitation with which it was chosen
}

// withChosenPassword returns the user with a chosen password, for BeginSecondStep.
func (u User) withChosenPassword(passwordHash, linkToken string) User {
	u.chosen = &chosenPassword{passwordHash, hashToken(linkToken)}
	return u
}

// setChosenPassword sets the password that waits in a second step, if there is one, and returns the user. It uses up the link and ends
// every session and every other second step of the user. It returns ErrNotFound if the link is no longer valid.
func (s *Store) setChosenPassword(tx *tx, step SecondStep, client Client) (User, error) {
	switch step.method {
	case ByReset:
		return s.useReset(tx, step.chosen.linkHash, step.chosen.hash, client)
	case ByInvitation:
		return s.useInvitation(tx, step.chosen.linkHash, step.chosen.hash, client)
	}
	return step.user, nil
}
