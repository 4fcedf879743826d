"""The materials that have a name, in the grammar of `mmdtwin.synth.xray.materials`.

Mass fractions and densities (g/cm3) of tissues are those of ICRU Report 44 (1989), of spongiosa
ICRU Report 46 (1992); of air NIST (Hubbell and Seltzer, NISTIR 5632); densities of elements
xraylib's, of minerals and plastics those of the CRC Handbook or of NIST's list of compounds unless
said otherwise.
"""

from __future__ import annotations

NAMED = {
    # Tissues
    "soft-tissue": "mass:H=.102,C=.143,N=.034,O=.708,Na=.002,P=.003,S=.003,Cl=.002,K=.003@1.06",
    "blood": "mass:H=.102,C=.110,N=.033,O=.745,Na=.001,P=.001,S=.002,Cl=.003,K=.002,Fe=.001@1.06",
    "muscle": "mass:H=.102,C=.143,N=.034,O=.710,Na=.001,P=.002,S=.003,Cl=.001,K=.004@1.05",
    "adipose": "mass:H=.114,C=.598,N=.007,O=.278,Na=.001,S=.001,Cl=.001@0.95",
    "brain": "mass:H=.107,C=.145,N=.022,O=.712,Na=.002,P=.004,S=.002,Cl=.003,K=.003@1.04",
    "skin": "mass:H=.100,C=.204,N=.042,O=.645,Na=.002,P=.001,S=.002,Cl=.003,K=.001@1.09",
    # inflated
    "lung": "mass:H=.103,C=.105,N=.031,O=.749,Na=.002,P=.002,S=.003,Cl=.003,K=.002@0.26",
    # cortical
    "bone": "mass:H=.034,C=.155,N=.042,O=.435,Na=.001,Mg=.002,P=.103,S=.003,Ca=.225@1.92",
    "spongiosa": "mass:H=.085,C=.404,N=.028,O=.367,Na=.001,Mg=.001,P=.034,S=.002,Cl=.002,K=.001,"
    "Ca=.074,Fe=.001@1.18",
    "hydroxyapatite": "Ca5P3O13H@3.16",
    # Gases and liquids
    "air": "mass:C=.000124,N=.755268,O=.231781,Ar=.012827@1.205e-3",  # dry, 20 degC
    "water": "H2O@1.0",
    "saline": "mass:H2O@1.0=.991,NaCl@2.165=.009@1.005",
    "ethanol": "C2H6O@0.789",
    "glycerol": "C3H8O3@1.261",
    "oil": "CH2@0.85",  # mineral oil, as an alkane
    "galinstan": "mass:Ga=.685,In=.215,Sn=.10@6.44",  # Geratherm's data sheet
    # Elastomers, gels and plastics
    "silicone": "C2H6OSi@1.07",  # filled PDMS elastomer, 0.97-1.07
    "gelatin": "mass:H=.0812,C=.4161,N=.1110,O=.3806,S=.0110@1.27",  # dry; Photographic gel, NIST
    "agar": "C12H18O9@1.5",  # dry agarose, density assumed
    "polyurethane": "mass:H=.085,C=.67,N=.035,O=.21@1.12",  # thermoplastic polyether, assumed
    "peek": "C19H12O3@1.30",
    "ptfe": "C2F4@2.20",
    "teflon": "C2F4@2.20",
    "polyimide": "C22H10N2O5@1.42",
    "nylon": "C6H11NO@1.14",
    "pebax": "C6H11NO@1.01",  # a nylon-polyether block copolymer, taken as nylon
    "polyethylene": "C2H4@0.94",
    "polypropylene": "C3H6@0.90",
    "polystyrene": "C8H8@1.06",
    "polycarbonate": "C16H14O3@1.20",
    "pmma": "C5H8O2@1.19",
    "pla": "C3H4O2@1.24",
    "petg": "C10H8O4@1.27",
    "abs": "C15H17N@1.05",
    "pvc": "C2H3Cl@1.40",
    "latex": "C5H8@0.92",
    "glass": "mass:B=.040064,O=.539562,Na=.028191,Al=.011644,Si=.377220,K=.003321@2.23",  # Pyrex
    # Metals and alloys
    "aluminium": "Al",
    "beryllium": "Be",
    "cobalt": "Co",
    "copper": "Cu",
    "gold": "Au",
    "iridium": "Ir",
    "iron": "Fe",
    "lead": "Pb",
    "molybdenum": "Mo",
    "nickel": "Ni",
    "platinum": "Pt",
    "silver": "Ag",
    "steel": "Fe",  # plain, taken as iron
    "tantalum": "Ta",
    "tin": "Sn",
    "titanium": "Ti",
    "tungsten": "W",
    "stainless-steel": "mass:Fe=.65,Cr=.17,Ni=.12,Mo=.025,Mn=.02,Si=.015@7.99",  # 316L, ASTM F138
    "nitinol": "mass:Ni=.55,Ti=.45@6.45",  # ASTM F2063
    "cobalt-chromium": "mass:Co=.52,Cr=.20,W=.15,Ni=.10,Fe=.03@9.1",  # L605, ASTM F90
    "platinum-iridium": "mass:Pt=.90,Ir=.10@21.5",
    # Magnets and what is opaque to X-rays
    "ndfeb": "Nd2Fe14B@7.5",
    "samarium-cobalt": "SmCo5@8.4",
    "magnetite": "Fe3O4@5.17",
    "maghemite": "Fe2O3@4.9",
    "ferrite": "SrFe12O19@5.1",
    "barium-sulphate": "BaSO4@4.5",
    "bismuth-oxide": "Bi2O3@8.9",
    "csi": "CsI@4.51",
}

# Name: filler, matrix, and the filler's volume fraction where none is given.
FILLED = {
    "ndfeb-silicone": ("ndfeb", "silicone", 0.125),  # the reference soft sheet
    "iron-silicone": ("iron", "silicone", 0.125),  # as that, assumed
    "ferrofluid": ("magnetite", "water", 0.1),
    "ferrofluid-oil": ("magnetite", "oil", 0.1),
    "glycerol-water": ("glycerol", "water", 0.4),  # about the viscosity of blood
    "gelatin-water": ("gelatin", "water", 0.08),  # 10 % by mass
    "agar-water": ("agar", "water", 0.01),  # 1.5 % by mass
    "barium-polyurethane": ("barium-sulphate", "polyurethane", 0.06),  # 20 % by mass, catheters
    "tungsten-polyurethane": ("tungsten", "polyurethane", 0.1),  # 65 % by mass, marker bands
}
