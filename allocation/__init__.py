"""Who gets what share: users to arms, exposures to channels."""
